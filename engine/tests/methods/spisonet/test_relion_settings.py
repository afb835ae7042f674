"""The ISONET_* variables: documented defaults, what is read, what is refused."""

from pathlib import Path

import pytest

from cryodl.errors import ConfigError
from cryodl.methods.spisonet.relion.settings import (
    RelionSettings,
    unknown_variables,
    variables,
)

DOCUMENTED = {
    "ISONET_BETA": 0.5,
    "ISONET_ALPHA": 1,
    "ISONET_START_HEALPIX": 3,
    "ISONET_START_RESOLUTION": 15,
    "ISONET_RETRAIN_EACH_ITER": True,
    "ISONET_EPOCHS": 5,
    "ISONET_ACC_BATCHES": 2,
    "ISONET_KEEP_LOWRES": False,
    "ISONET_WHITENING": True,
    "ISONET_WHITENING_LOW": 10,
    "ISONET_FSC_WEIGHTING": True,
    "ISONET_LOWPASS": True,
    "ISONET_ANGULAR_WHITEN": False,
    "ISONET_3DFSD": False,
}
PUBLISHED = {"ISONET_FSC_05": False, "ISONET_INDEPENDENT": False, "ISONET_ANISO": "fsc"}
NEW = (
    "WIDTH CUBE_SIZE N_SUBVOLUME BATCH_SIZE DEVICES ANISO ON_ERROR PRESTART KEEP_FILES STALE "
    "TIMEOUT REFERENCE"
)


def read(**environment):
    return RelionSettings.from_environment({f"ISONET_{k}": v for k, v in environment.items()})


def test_names_and_defaults_of_the_manual():
    values = RelionSettings.from_environment({"PATH": "/bin"}).as_variables()
    for name, default in DOCUMENTED.items():
        assert values[name] == default, name
    assert {f"ISONET_{name}" for name in NEW.split()} <= set(values)
    assert set(values) == set(variables().values())


def test_the_published_method_has_its_documented_defaults_and_ours_what_aligned_best():
    for method, expected in (
        ("published", PUBLISHED),
        ("cross-direction", dict.fromkeys(PUBLISHED)),
    ):
        values = read(METHOD=method).as_variables()
        for name, default in PUBLISHED.items():
            assert (values[name] == default) is (expected[name] is not None), (method, name)
    assert read(METHOD="published", FSC_05="yes", ANISO="min").aniso == "min"
    assert read(METHOD="published", FSC_05="yes").fsc_05 is True
    assert read(RETRAIN_EACH_ITER="False").independent is False


@pytest.mark.parametrize("text", ["False", "false", "FALSE", "0", "no", "off", " Off "])
def test_all_ways_to_say_no(text):
    assert read(WHITENING=text).whitening is False


@pytest.mark.parametrize("text", ["True", "TRUE", "1", "yes", "on"])
def test_all_ways_to_say_yes(text):
    assert read(KEEP_LOWRES=text).keep_lowres is True


def test_values_are_read():
    settings = read(EPOCHS="7", BETA="0.25", DEVICES="0, 1", REFERENCE="a b.mrc", WIDTH="16")
    assert (settings.epochs, settings.beta, settings.devices) == (7, 0.25, "0,1")
    assert settings.reference == Path("a b.mrc") and settings.width == "16"
    assert read(EPOCHS="").epochs == 5
    assert read(ANISO="min").directional_weight == "min"
    assert RelionSettings.from_environment({"ISONET_3DFSD": "1"}).directional_weight == "weight"


@pytest.mark.parametrize(
    "name, value",
    [
        ("EPOCHS", "abc"),
        ("EPOCHS", "0"),
        ("BETA", "-1"),
        ("BETA", "nan"),
        ("WHITENING", "maybe"),
        ("WIDTH", "48"),
        ("CUBE_SIZE", "60"),
        ("ANISO", "both"),
        ("ON_ERROR", "ignore"),
        ("DEVICES", "gpu0"),
        ("STALE", "1"),
        ("START_RESOLUTION", "0"),
        ("ACC_BATCHES", "3"),
    ],
)
def test_what_cannot_be_read_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"^ISONET_{name}: found .*, expected .*; c"):
        read(**{name: value})


def test_unknown_variables_are_named():
    notes = unknown_variables({"ISONET_EPOCH": "3", "ISONET_BETA": "1", "HOME": "x"})
    assert notes == ["ISONET_EPOCH is not known, perhaps ISONET_EPOCHS"]


def test_the_page_for_relion_users_names_every_variable():
    page = (Path(__file__).resolve().parents[4] / "docs" / "relion.md").read_text(encoding="utf-8")
    for name in variables().values():
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("devices", ["auto", "cuda", "cpu", "0,1"])
def test_devices_of_the_engine_are_taken(devices):
    assert read(DEVICES=devices).devices == devices
