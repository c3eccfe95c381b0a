"""What pip installs at start follows from the image: missing packages cost bytes and CPU, present ones nothing."""

import pytest

from llm_provisioning_simulator.app.packages import RuntimeEnv, installation


def test_what_the_image_holds_is_not_installed_again() -> None:
    """A baked package makes the runtime environment's pip a no-op."""
    made = installation({"vllm": "0.5.4"}, ["vllm==0.5.4"])
    assert (made.added, made.download_bytes) == ((), 0)
    assert made.seconds(rate_bytes_s=1e6, disk_bytes_s=1e6, dirty_bytes=0) == 0


def test_an_empty_image_pays_for_vllm_and_its_dependencies() -> None:
    """The whole stack weighs gigabytes, and vllm can be imported afterwards."""
    made = installation({}, ["vllm==0.5.4"])
    assert made.download_bytes > 2_000_000_000
    assert made.install_cpu_s > 60
    assert made.packages["vllm"] == "0.5.4"


def test_a_slow_disk_bounds_the_installation() -> None:
    """Wheels and what they unpack to are written; what memory takes is free."""
    made = installation({}, ["vllm==0.5.4"])
    fast = made.seconds(rate_bytes_s=1e9, disk_bytes_s=1e12, dirty_bytes=0)
    assert made.seconds(rate_bytes_s=1e9, disk_bytes_s=20e6, dirty_bytes=0) > fast
    assert made.seconds(rate_bytes_s=1e9, disk_bytes_s=20e6, dirty_bytes=1e12) == fast


def test_a_requirement_that_is_none_is_an_error() -> None:
    """Pip would refuse it too."""
    with pytest.raises(ValueError, match="no requirement"):
        installation({}, ["==broken"])


@pytest.mark.parametrize("pip", [["a", "b"], {"packages": ["a", "b"]}])
def test_both_spellings_of_pip_are_read(pip: object) -> None:
    """Ray takes a list or a mapping with `packages`."""
    assert RuntimeEnv.from_config({"pip": pip}).pip == ("a", "b")
    assert RuntimeEnv.from_config(None).as_dict() == {}
