import generated_tower
import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Beside other test processes, two threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def published():
    """A state dict of the published tower's shape."""
    return generated_tower.state()


@pytest.fixture(scope="session")
def waves():
    return generated_tower.waves()
