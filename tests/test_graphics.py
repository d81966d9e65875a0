"""GPUs that are there, whether llama.cpp uses them or not, and the command that mends it; power and screen."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from machine_root import card, write

from localchat.llama import libraries
from localchat.llama.devices import Build, Device
from localchat.llama.libraries import install_command, is_supported, reinstall_command
from localchat.plan import graphics as module
from localchat.plan.graphics import Graphics, graphics, nvidia_names, nvml_names
from localchat.plan.surroundings import has_screen, on_battery
from localchat.plan.unused import unused

CPU_BUILD = Build(("CPU",))


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU of the machine that runs the tests."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(module, "nvml_names", list)


def device(backend: str, kind: str = "gpu") -> Device:
    return Device(f"{backend}0", "a GPU", kind, backend, 8 << 30, 7 << 30)


def test_a_machine_without_gpus(tmp_path: Path) -> None:
    assert graphics(tmp_path) == []


def test_nvidia_s_driver_names_its_gpus(tmp_path: Path) -> None:
    for address in ("0000:01:00.0", "0000:02:00.0"):
        text = "Model: \t\t NVIDIA GeForce RTX 3060\nIRQ: 16\nGPU UUID: \t GPU-1"
        write(tmp_path, f"proc/driver/nvidia/gpus/{address}/information", text)
    card(tmp_path, 0, "0x10de", "0x2504")
    card(tmp_path, 1, "0x8086", "0x46a6")
    assert nvidia_names(tmp_path) == ["NVIDIA GeForce RTX 3060"] * 2
    assert [found.name for found in graphics(tmp_path)] == ["NVIDIA GeForce RTX 3060"] * 2 + ["Intel GPU 0x46a6"]


def test_nvidia_s_library_is_asked_where_the_driver_has_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "nvml_names", lambda: ["NVIDIA A10"])
    assert graphics(tmp_path) == [Graphics("NVIDIA A10", "NVIDIA")]


def test_a_card_of_nvidia_without_its_driver_is_named_by_number(tmp_path: Path) -> None:
    card(tmp_path, 0, "0x10de", "0x2504")
    assert graphics(tmp_path) == [Graphics("NVIDIA GPU 0x2504", "NVIDIA")]


def test_a_library_that_is_not_there_or_is_another_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert nvml_names("libno-such-library.so.1") == []
    monkeypatch.setattr("ctypes.CDLL", lambda _name: SimpleNamespace())
    assert nvml_names("libother.so") == []


class Nvml:
    """NVIDIA's library with two GPUs, the first of which has a strange name and the second none."""

    def nvmlInit_v2(self) -> int:  # noqa: N802 - its names
        return 0

    def nvmlDeviceGetCount_v2(self, count: object) -> int:  # noqa: N802
        count._obj.value = 2  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: object, _handle: object) -> int:  # noqa: N802
        return int(index.value)  # type: ignore[attr-defined]

    def nvmlDeviceGetName(self, _handle: object, name: object, _length: object) -> int:  # noqa: N802
        name.value = b"NVIDIA \x1b[2JH100\xff"  # type: ignore[attr-defined]
        return 0

    def nvmlShutdown(self) -> int:  # noqa: N802
        return 0


def test_names_of_nvidia_s_library_are_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: Nvml())
    assert nvml_names("libnvidia-ml.so.1") == ["NVIDIA ␛[2JH100\ufffd"]


def test_a_card_of_amd_has_its_name_or_number(tmp_path: Path) -> None:
    card(tmp_path, 0, "0x1002", "0x73bf", mem_info_vram_total=str(16 << 30))
    card(tmp_path, 1, "0x1002", "0x740f", product_name="AMD Instinct MI210")
    assert graphics(tmp_path) == [Graphics("AMD GPU 0x73bf", "AMD"), Graphics("AMD Instinct MI210", "AMD")]


def test_graphics_in_a_processor_of_amd_have_little_memory(tmp_path: Path) -> None:
    card(tmp_path, 0, "0x1002", "0x15bf", mem_info_vram_total=str(512 << 20))
    assert graphics(tmp_path)[0].is_integrated


@pytest.mark.parametrize(("address", "is_integrated"), [("0000:00:02.0", True), ("0000:03:00.0", False)])
def test_a_card_of_intel_has_a_bus_of_its_own(tmp_path: Path, address: str, is_integrated: bool) -> None:
    folder = card(tmp_path, 0, "0x8086", "0x56a0")
    real = tmp_path / "sys/devices" / address
    real.parent.mkdir(parents=True)
    folder.rename(real)
    folder.symlink_to(real)
    assert graphics(tmp_path) == [Graphics("Intel GPU 0x56a0", "Intel", is_integrated)]


def test_other_makers_and_connectors_are_no_gpus(tmp_path: Path) -> None:
    card(tmp_path, 0, "0x1af4", "0x1050")  # a virtual machine's
    write(tmp_path, "sys/class/drm/card0-HDMI-A-1/device/vendor", "0x10de")
    assert graphics(tmp_path) == []


def test_an_apple_processor_has_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert [found.maker for found in graphics(tmp_path)] == ["Apple"]


FLAGS = [
    (Graphics("RTX", "NVIDIA"), "-DGGML_CUDA=ON"),
    (Graphics("RX", "AMD"), "-DGGML_HIP=ON"),
    (Graphics("780M", "AMD", True), "-DGGML_VULKAN=ON"),
    (Graphics("Iris", "Intel", True), "-DGGML_VULKAN=ON"),
    (Graphics("Arc", "Intel"), "-DGGML_VULKAN=ON"),
    (Graphics("Apple GPU", "Apple"), "-DGGML_METAL=ON"),
]


@pytest.mark.parametrize(("found", "flag"), FLAGS, ids=[found.name for found, _ in FLAGS])
def test_a_gpu_that_lies_idle_comes_with_the_command_that_mends_it(found: Graphics, flag: str) -> None:
    (idle,) = unused([found], CPU_BUILD, {})
    assert idle.name == found.name
    assert idle.fix == reinstall_command(flag)
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    assert idle.fix.startswith(f'CMAKE_ARGS="{flag}" {python} -m pip install --force-reinstall')
    assert idle.fix.endswith(f"--no-deps llama-cpp-python=={libraries.package_version()}")


@pytest.mark.parametrize(
    ("found", "backend"),
    [
        (Graphics("RTX", "NVIDIA"), "CUDA"),
        (Graphics("RTX", "NVIDIA"), "Vulkan"),
        (Graphics("RX", "AMD"), "ROCm"),
        (Graphics("Arc", "Intel"), "SYCL"),
        (Graphics("Apple GPU", "Apple"), "MTL"),
    ],
)
def test_a_gpu_with_a_device_that_fits_is_used(found: Graphics, backend: str) -> None:
    assert unused([found], Build((backend, "CPU"), (), (device(backend),)), {}) == ()


def test_a_device_of_another_machine_or_maker_is_not_this_gpu() -> None:
    for backend in ("RPC", "ROCm"):
        assert unused([Graphics("RTX", "NVIDIA")], Build((backend, "CPU"), (), (device(backend),)), {})


def test_graphics_in_the_processor_do_not_count_beside_a_card_that_is_used() -> None:
    found = [Graphics("RTX", "NVIDIA"), Graphics("Iris", "Intel", True)]
    assert unused(found, Build(("CUDA", "CPU"), (), (device("CUDA"),)), {}) == ()
    assert len(unused(found, CPU_BUILD, {})) == 2


def test_a_build_that_fits_and_sees_nothing_is_not_built_again() -> None:
    found, built = [Graphics("RTX", "NVIDIA")], Build(("CUDA", "CPU"))
    assert unused(found, built, {})[0].fix == "nvidia-smi"
    assert unused(found, built, {"CUDA_VISIBLE_DEVICES": ""})[0].fix == "unset CUDA_VISIBLE_DEVICES"


def test_windows_has_words_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "executable", r"C:\Program Files\Python\python.exe")
    fix = reinstall_command("-DGGML_CUDA=ON")
    assert fix.startswith('$env:CMAKE_ARGS="-DGGML_CUDA=ON"; & "C:\\Program Files\\Python\\python.exe" -m pip install')


@pytest.mark.parametrize(
    ("libraries_there", "flag", "flags"),
    [
        (["libggml-cuda.so", "libggml-rpc.so"], "", "-DGGML_CUDA=ON -DGGML_RPC=ON"),
        (["libggml-cuda.so"], "-DGGML_RPC=ON", "-DGGML_CUDA=ON -DGGML_RPC=ON"),
        (["ggml-cuda.dll", "ggml-rpc.dll"], "-DGGML_VULKAN=ON", "-DGGML_RPC=ON -DGGML_VULKAN=ON"),
        (["libggml-cpu.so", "libggml.so"], "-DGGML_CUDA=ON", "-DGGML_CUDA=ON"),
    ],
)
def test_what_it_was_built_for_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libraries_there: list[str], flag: str, flags: str
) -> None:
    for name in libraries_there:
        write(tmp_path, f"lib/{name}", "")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: spec)
    assert reinstall_command(flag).startswith(f'CMAKE_ARGS="{flags}" ')


def test_where_the_processor_has_amx_no_command_builds_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "cpuinfo"
    facts.write_text("flags\t\t: avx512f amx_bf16 amx_tile amx_int8\n")
    monkeypatch.setattr(libraries, "CPU_FACTS", facts)
    flags = "-DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8"
    assert install_command().startswith(f'CMAKE_ARGS="{flags}" ')
    assert f'CMAKE_ARGS="{flags} -DGGML_CUDA=ON" ' in reinstall_command("-DGGML_CUDA=ON")


@pytest.mark.parametrize(
    ("version", "is_good"),
    [
        ("0.3.36", True),
        ("0.3.100", True),
        ("0.3.36+cu124", True),
        ("0.3.9", False),
        ("0.4", False),
        ("1.0", False),
        ("", False),
        ("x", False),
    ],
)
def test_versions_of_the_package_that_are_supported(version: str, is_good: bool) -> None:
    assert is_supported(version) == is_good


def test_the_range_of_versions_is_that_of_the_project() -> None:
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert f'"llama-cpp-python>={libraries.LOWEST},<{libraries.BELOW}"' in text
    assert f'"llama-cpp-python>={libraries.LOWEST},<{libraries.BELOW}"' in install_command()


SUPPLIES = [
    ({}, None),
    ({"BAT0": {"type": "Battery", "status": "Discharging"}, "AC": {"type": "Mains", "online": "0"}}, True),
    ({"BAT0": {"type": "Battery", "status": "Charging"}, "AC": {"type": "Mains", "online": "1"}}, False),
    ({"BAT0": {"type": "Battery", "status": "Discharging"}, "usb": {"type": "USB", "online": "1"}}, False),
    ({"BAT0": {"type": "Battery", "status": "Full"}}, False),
    ({"BAT0": {"type": "Battery", "status": "Unknown"}}, None),
    ({"AC": {"type": "Mains", "online": "1"}}, None),
    ({"hidpp_battery_0": {"type": "Battery", "scope": "Device", "status": "Discharging"}}, None),
]


@pytest.mark.parametrize(("supplies", "answer"), SUPPLIES, ids=str)
def test_battery_or_mains(tmp_path: Path, supplies: dict[str, dict[str, str]], answer: bool | None) -> None:
    for name, files in supplies.items():
        for file, text in files.items():
            write(tmp_path, f"sys/class/power_supply/{name}/{file}", text)
    assert on_battery(tmp_path) is answer


@pytest.mark.parametrize(("plugged", "answer"), [(True, False), (False, True), (None, None)])
def test_battery_or_mains_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugged: bool | None, answer: bool | None
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(psutil, "sensors_battery", lambda: SimpleNamespace(power_plugged=plugged), raising=False)
    assert on_battery(tmp_path) is answer


@pytest.mark.parametrize(
    ("status", "enabled", "answer"),
    [("connected", "enabled", True), ("connected", "disabled", False), ("disconnected", "enabled", False)],
)
def test_a_screen_is_connected_and_lit(tmp_path: Path, status: str, enabled: str, answer: bool) -> None:
    assert not has_screen(tmp_path)
    write(tmp_path, "sys/class/drm/card0-HDMI-A-1/status", status)
    write(tmp_path, "sys/class/drm/card0-HDMI-A-1/enabled", enabled)
    assert has_screen(tmp_path) is answer
