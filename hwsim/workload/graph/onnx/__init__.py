"""ONNX files as graphs: the file is translated into the layout of a graph file, which `hwsim import` prints.

Reading needs the extra `onnx`. Shapes are inferred by that library, node by node; what does not depend on the inputs is
computed by its reference evaluator when it is needed. Nothing else of a file is executed.
"""
