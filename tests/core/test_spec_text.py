"""Values, parts and calls from text."""

from __future__ import annotations

import pytest

from condensed_data.core import spec_text
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.methods.pools import RandomInit
from condensed_data.networks import ConvNet


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        (" -1e-3 ", -1e-3),
        ("None", None),
        ("True", True),
        ("(1, 2.5)", (1, 2.5)),
        ("[1, 'a']", (1, "a")),
        ("adam", "adam"),
        ("'3'", "3"),
        ("timm:resnet18", "timm:resnet18"),
        ("a b", "a b"),
        ("np.zeros(3)", "np.zeros(3)"),
        ("{[]: 1}", "{[]: 1}"),
        ("Identity", Identity()),
        ("ConvNet(width=64, norm=batch)", ConvNet(64, norm="batch")),
        ("ConvNet(64, 2)", ConvNet(64, 2)),
        ("SiameseAugment(ops=(color, crop))", SiameseAugment(("color", "crop"))),
        ("SiameseAugment(DefaultDSAOps())", SiameseAugment(DefaultDSAOps())),
    ],
)
def test_text_becomes_a_value(text: str, value: object) -> None:
    parsed = spec_text.parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("name", ["convnet-d2-w8", "vgg11-bn"])
def test_names_inside_a_call_keep_their_spelling(name: str) -> None:
    assert spec_text.parse_call(f" bdm(base=dm, é=1, network={name}) ")[1]["network"] == name
    assert spec_text.parse_call(f"bdm(ops=({name},  c))")[1]["ops"] == (name, "c")
    assert spec_text.parse_value(f"RandomInit(network={name})") == RandomInit(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ConvNett(3)", "Unknown part 'ConvNett'.*Known parts: .*ConvNet"),
        ("Sampler()", "Unknown part 'Sampler'"),
        ("NamedCallable('a', 1)", "Unknown part 'NamedCallable'"),
        ("__import__('os')", "Unknown part '__import__'"),
        ("ConvNet(widht=3)", "ConvNet cannot be built.*'widht'.*Its fields: width, depth"),
        ("Term", "Term cannot be built.*Its fields: objective"),
    ],
)
def test_text_that_calls_anything_but_a_part_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec_text.parse_value(text)


def test_known_parts_can_be_written() -> None:
    with pytest.raises(ValueError, match="Known parts") as error:
        spec_text.parse_value("Nothing()")
    listed = str(error.value).partition("Known parts: ")[2].rstrip(".").split(", ")
    assert {"PerGroup", "ConvNet", "Distribution", "RandomInit", "Pixels", "SiameseAugment"} <= set(listed)
    assert not {"NamedCallable", "DataDefault", "Pool", "Sampler", "SyntheticSpec"} & set(listed)
