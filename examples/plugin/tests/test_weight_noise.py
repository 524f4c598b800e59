"""natmu's conformance suite on a method that is not natmu's."""

from natmu_weight_noise import WeightNoise

from natmu.testing import Row, conformance


def noise(method, problem):
    """The standard deviation of the noise on each weight."""
    weights = problem.model.named_parameters()
    return {
        name: (method.config.scale * weight.detach().std(correction=0)).expand(weight.shape) for name, weight in weights
    }


TestConformance = conformance(Row(WeightNoise, noise=noise))
