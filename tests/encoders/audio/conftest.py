import generated_tower
import pytest


@pytest.fixture(scope="session")
def published():
    """A state dict of the published tower's shape."""
    return generated_tower.state()


@pytest.fixture(scope="session")
def waves():
    return generated_tower.waves()
