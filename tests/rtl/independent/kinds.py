"""Every unit that the second reference answers for: all of the catalogue that turn one stream into another."""

from tests.rtl.independent import activations, dots, packets, seeds

KINDS = (*seeds.KINDS, *dots.KINDS, *activations.KINDS, *packets.KINDS)
