from umlbench.data.hub import match


def test_file_names_lead_to_the_photo_whatever_the_folder_and_extension():
    ids = ["banded/banded_0002.jpg", "bumpy/bumpy_0001.jpg", "bumpy/bumpy_0009.jpg"]
    found = match(["bumpy_0001.png", "data/banded/banded_0002.jpg", "zigzag_0001.jpg"], ids)
    assert found.rows == {"banded/banded_0002.jpg": 1, "bumpy/bumpy_0001.jpg": 0}
    assert found.missing == ("bumpy/bumpy_0009.jpg",)


def test_an_ambiguous_name_leads_nowhere():
    ids = ["cars_train/00001.jpg", "cars_test/00001.jpg"]
    assert match(["00001.jpg"], ids).rows == {}
    assert match(["x/cars_test/00001.jpg"], ids).rows == {"cars_test/00001.jpg": 0}
    assert match(["elsewhere/00001.jpg", "cars_train/00001.jpg"], ids).rows == {
        "cars_train/00001.jpg": 1
    }


def test_two_rows_of_one_photo_are_not_chosen_between():
    found = match(["v_a.avi", "v_a.avi", "v_b.avi"], ["A/v_a.jpg", "B/v_b.jpg"])
    assert found.rows == {"B/v_b.jpg": 2}
    assert found.missing == ("A/v_a.jpg",)
