from hwsim.api import compare as compare
from hwsim.api import gemm as gemm
from hwsim.api import qsnr as qsnr
from hwsim.api import run as run
from hwsim.api import serve as serve
from hwsim.api import write_trace as write_trace
from hwsim.arch import load_arch as load_arch
from hwsim.formats import get_format as get_format
from hwsim.jobs.kernels import all_reduce as all_reduce
from hwsim.jobs.kernels import attention as attention
from hwsim.jobs.kernels import convolution as convolution
from hwsim.jobs.kernels import experts as experts
from hwsim.jobs.train import train as train
from hwsim.study import load_study as load_study
from hwsim.study import run_study as run_study
from hwsim.workload import load_model as load_model

__version__: str
