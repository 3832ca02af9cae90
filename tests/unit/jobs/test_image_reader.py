"""What becomes of an image's file before a model reads it: modes, orientation, sizes, and what is refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from pictures import file_of, png
from PIL import Image

from kaon_jobs.runtime import image as runtime
from kaon_jobs.runtime.image import ImageReader, Undecodable, decoded


def form(height: int = 4, width: int = 4, channels: int = 3, **more: Any) -> dict[str, Any]:
    return {"height": height, "width": width, "channels": channels, "resample": "bilinear", **more}


def refusal(data: bytes) -> str:
    with pytest.raises(Undecodable) as caught:
        decoded(data)
    return f"the file {caught.value.cause}. {caught.value.way_out}."


GREY = [("1", 1, 255), ("L", 100, 100), ("LA", (100, 255), 100), ("I;16", 25700, 100)]


@pytest.mark.parametrize(("mode", "colour", "value"), GREY)
def test_grey_stays_grey_in_8_bits(mode: str, colour: Any, value: int) -> None:
    found = decoded(png(mode, colour=colour))
    assert found.mode == "L" and set(np.asarray(found).flat) == {value}


def test_grey_of_16_bits_is_scaled_and_not_cut_off() -> None:
    ramp = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    assert np.asarray(decoded(file_of(Image.fromarray(ramp)))).tolist() == [[0, 0, 1, 1, 128, 255]]


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (10, 20, 30)), ("RGBA", (10, 20, 30, 255))])
def test_colour_stays_colour(mode: str, colour: Any) -> None:
    found = decoded(png(mode, colour=colour))
    assert found.mode == "RGB" and found.getpixel((0, 0)) == (10, 20, 30)


def test_what_is_transparent_is_laid_over_white() -> None:
    assert decoded(png("RGBA", colour=(0, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)
    assert decoded(png("RGBA", colour=(200, 0, 0, 51))).getpixel((0, 0)) == (244, 204, 204)
    assert decoded(png("LA", colour=(0, 0))).getpixel((0, 0)) == 255
    # One colour of a palette, or of a grey image, may be the transparent one.
    palette = Image.new("P", (3, 3), 1)
    palette.putpalette([1, 2, 3, 40, 50, 60])
    assert decoded(file_of(palette, transparency=1)).getpixel((0, 0)) == (255, 255, 255)
    assert decoded(file_of(palette, transparency=0)).getpixel((0, 0)) == (40, 50, 60)
    assert decoded(file_of(Image.new("L", (3, 3), 7), transparency=7)).getpixel((0, 0)) == 255


def test_cmyk_becomes_rgb() -> None:
    found = decoded(file_of(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100))
    red, green, blue = found.getpixel((8, 8))  # type: ignore[misc]
    assert found.mode == "RGB" and red > 245 and max(green, blue) < 10


def test_an_image_is_turned_as_its_orientation_says() -> None:
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 8:] = 255
    for orientation, bright in ((1, (0, 15)), (3, (0, 0)), (6, (15, 0)), (8, (0, 0))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("PNG", "JPEG"):
            found = np.asarray(decoded(file_of(Image.fromarray(pixels), kind, exif=exif)))
            assert found.shape == ((8, 16) if orientation < 5 else (16, 8))
            assert found[bright] > 200, (orientation, kind)


def test_metadata_that_cannot_be_read_turns_nothing() -> None:
    broken = file_of(Image.new("L", (8, 4), 9), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert decoded(broken).size == (8, 4)


def test_of_several_pictures_of_a_camera_the_first_is_taken() -> None:
    many = file_of(Image.new("L", (8, 8), 0), "MPO", save_all=True, append_images=[Image.new("L", (8, 8), 255)])
    assert decoded(many).getpixel((4, 4)) == 0


PHOTO = file_of(Image.effect_noise((64, 64), 60), "JPEG")
DRAWING = file_of(Image.effect_noise((64, 64), 60))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the file is empty. Send a whole JPEG or PNG file."),
        (b"no image", "the file is neither JPEG nor PNG. Save it as one of these."),
        (file_of(Image.new("L", (4, 4)), "GIF"), "the file is neither JPEG nor PNG. Save it as one of these."),
        (file_of(Image.new("L", (4, 4)), "BMP"), "the file is neither JPEG nor PNG. Save it as one of these."),
        (PHOTO[:300], "the file is damaged in its header. Send a whole JPEG or PNG file."),
        (PHOTO[: len(PHOTO) // 2], "the file breaks off behind its header. Send a whole JPEG or PNG file."),
        (DRAWING[: len(DRAWING) // 2], "the file breaks off behind its header. Send a whole JPEG or PNG file."),
        (DRAWING[:12], "the file is damaged in its header. Send a whole JPEG or PNG file."),
        (PHOTO[:3], "the file is damaged in its header. Send a whole JPEG or PNG file."),
        (
            file_of(Image.new("L", (4, 4)), save_all=True, append_images=[Image.new("L", (4, 4), 255)]),
            "the file is an animation. Take one of its pictures.",
        ),
    ],
    ids=["empty", "text", "gif", "bmp", "jpeg header", "jpeg", "png", "png header", "jpeg start", "animation"],
)
def test_what_is_no_image_is_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    assert refusal(data) == sentence


def test_bytes_that_are_changed_anywhere_are_an_image_or_a_refusal() -> None:
    draw = np.random.default_rng(0)
    for data in (PHOTO, DRAWING):
        for _ in range(200):
            changed = bytearray(data)
            for at in draw.integers(len(changed), size=3):
                changed[at] = draw.integers(256)
            try:
                assert decoded(bytes(changed)).mode in ("L", "RGB")
            except Undecodable:
                continue


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "MAX_PIXELS", 100)
    assert decoded(png(size=(10, 10))).size == (10, 10)
    wide = png(size=(101, 1))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    assert refusal(wide) == "the file has 101 x 1 pixels, and 100 is the limit. Scale it down."


def test_a_bomb_is_refused() -> None:
    # 20,000 x 20,000 pixels in 50 kB.
    bomb = file_of(Image.new("1", (20_000, 20_000)))
    assert len(bomb) < 100_000
    assert "25,000,000" in refusal(bomb)


def test_a_jpeg_of_hundreds_of_scans_is_refused() -> None:
    scans = file_of(Image.new("L", (8, 8)), "JPEG", progressive=True) + b"\xff\xda" * 101
    assert refusal(scans) == "the file is a JPEG of more than 100 scans, the limit. Save it again."


def test_both_sides_are_scaled_and_values_stay_0_to_255() -> None:
    read = ImageReader(form(2, 3, 1)).numbers([png(size=(30, 8), colour=77), png("RGB", (3, 2), (77, 77, 77))])
    assert read.shape == (2, 1, 2, 3) and read.dtype == np.float32 and set(read.flat) == {77.0}


def test_an_image_of_the_right_size_is_not_touched() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    read = ImageReader(form()).numbers([file_of(Image.fromarray(pixels))])
    assert read[0].tolist() == pixels.transpose(2, 0, 1).tolist()


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (33, 33), (10, 200), (5, 4)])
@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_the_middle_is_what_scaling_the_whole_and_cutting_gives(size: tuple[int, int], resample: str) -> None:
    image = Image.effect_noise(size, 80)
    reader = ImageReader(form(14, 14, 1, shortest=16, resample=resample))
    width, height = size
    whole = (16, int(16 * height / width)) if width <= height else (int(16 * width / height), 16)
    scaled = image.resize(whole, runtime._RESAMPLE[resample])
    left, top = (whole[0] - 14) // 2, (whole[1] - 14) // 2
    expected = np.asarray(scaled.crop((left, top, left + 14, top + 14)))
    assert reader.pixels(file_of(image))[0].tolist() == expected.tolist()


def test_beyond_the_edges_of_a_smaller_image_it_is_black() -> None:
    read = ImageReader(form(8, 8, 1, shortest=4)).pixels(png(size=(4, 4), colour=200))[0]
    assert read[2:6, 2:6].tolist() == [[200] * 4] * 4 and read.sum() == 200 * 16


def test_a_narrow_image_is_not_scaled_to_millions_of_pixels() -> None:
    ramp = np.arange(20_000, dtype=np.uint16).reshape(-1, 1) // 79
    read = ImageReader(form(224, 224, 1, shortest=256)).pixels(file_of(Image.fromarray(ramp.astype(np.uint8))))
    # Of 20,000 rows one makes 256.
    assert read.shape == (1, 224, 224) and set(read.flat) == {126}


def test_a_file_of_what_is_read_is_read_to_the_same() -> None:
    for channels, mode in ((1, "L"), (3, "RGB")):
        reader = ImageReader(form(5, 6, channels))
        data = file_of(Image.effect_noise((40, 30), 80).convert(mode))
        small = reader.file(data)
        assert Image.open(io.BytesIO(small)).size == (6, 5)
        assert reader.pixels(small).tolist() == reader.pixels(data).tolist()
