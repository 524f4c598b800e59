"""What a library's model says of its inputs is taken where the user says nothing, and is said."""

import json

import pytest

from natmu.errors import ModelError, SettingError
from natmu.lineage.preprocessing import with_form, with_normalisation
from natmu.models import Preprocessing, check_class_order
from natmu.progress import showing
from natmu.records.settings import DataSettings

TOLD = Preprocessing(image_size=32, mean=(0.5, 0.25), std=(1.0, 2.0), interpolation="bicubic")
ASKED = DataSettings(source="photographs")


def test_what_the_user_does_not_say_comes_from_the_model(capsys):
    with showing():
        taken = with_normalisation(with_form(ASKED, TOLD, "timm:net"), TOLD, "timm:net")
    assert (taken.image_size, taken.mean, taken.std) == (32, (0.5, 0.25), (1.0, 2.0))
    said = " ".join(capsys.readouterr().err.split())
    assert "timm:net gives --image-size 32 (by bicubic; here it is bilinear)" in said
    assert "timm:net gives --mean 0.5,0.25 --std 1,2" in said


def test_what_the_user_says_stays(capsys):
    asked = DataSettings(source="photographs", image_size=16, mean=(0.0, 0.0), std=(1.0, 1.0))
    with showing():
        assert with_normalisation(with_form(asked, TOLD, "timm:net"), TOLD, "timm:net") == asked
        nothing = Preprocessing()
        assert with_normalisation(with_form(ASKED, nothing, "mine:net"), nothing, "mine:net") == ASKED
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "values",
    [{"mean": [0.5]}, {"mean": [0.5], "std": [1.0, 1.0]}, {"mean": [], "std": []}, {"mean": [0.5], "std": [0.0]}],
)
def test_normalisation_that_is_none_is_refused(values):
    with pytest.raises(SettingError, match=r"mean"):
        DataSettings.parse({"source": "digits"} | values, "data")


def test_the_order_of_classes_in_a_folder_counts(tmp_path):
    name = f"hf:{tmp_path}"
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "cat", "1": "dog", "10": "elk"}}))
    check_class_order(name, ["cat", "dog", "elk"])
    check_class_order(name, ["0", "1", "2"])  # nothing is known of these
    check_class_order("small_cnn", ["dog", "cat", "elk"])
    with pytest.raises(ModelError, match=r"Class 1 of hf:.* is 'dog' and that of the data 'elk'.*--classes FILE"):
        check_class_order(name, ["cat", "elk", "dog"])
