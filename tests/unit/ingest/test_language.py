"""Which language a document is in: its text-search configuration depends on it."""

import pytest

from chalicelib.ingest.language import detect

LEASE = {
    "en": "The tenant shall not keep any pets in the flat without the written consent of the landlord.",
    "de": "Der Mieter darf ohne Zustimmung des Vermieters keine Haustiere in der Wohnung halten.",
    "fr": "Le locataire ne peut pas garder d'animaux dans l'appartement sans l'accord du propriétaire.",
    "es": "El inquilino no podrá tener mascotas en el piso sin el consentimiento del propietario.",
    "it": "L'inquilino non può tenere animali nell'appartamento senza il consenso del proprietario.",
    "nl": "De huurder mag zonder toestemming van de verhuurder geen huisdieren in de woning houden.",
    "sv": "Hyresgästen får inte ha husdjur i lägenheten utan hyresvärdens samtycke.",
    "ru": "Арендатор не может держать домашних животных в квартире без согласия арендодателя.",
    "he": "השוכר אינו רשאי להחזיק חיות מחמד בדירה ללא הסכמת המשכיר",
    "ar": "لا يجوز للمستأجر الاحتفاظ بحيوانات أليفة في الشقة دون موافقة المالك",
    "ja": "借主は貸主の同意なしに室内でペットを飼うことはできません。",
    "zh": "未经房东书面同意，租户不得在公寓内饲养任何宠物。",
    "th": "ผู้เช่าไม่สามารถเลี้ยงสัตว์เลี้ยงในห้องได้โดยไม่ได้รับความยินยอม",
}


@pytest.mark.parametrize("language", LEASE)
def test_a_sentence_is_enough(language: str) -> None:
    assert detect(LEASE[language]) == language


@pytest.mark.parametrize("text", ["", " \n\t", "1 2 3", "3.14 · 2026-01-31", "hello", "資料", "\ud800 \ud800", "x" * 10])
def test_too_little_text_has_no_language(text: str) -> None:
    assert detect(text) == ""


@pytest.mark.parametrize(("much", "little"), [("de", "en"), ("en", "de"), ("ja", "en"), ("en", "ja")])
def test_a_text_in_two_languages_is_in_the_one_that_most_of_it_is_in(much: str, little: str) -> None:
    assert detect(LEASE[little] * 3 + " " + (LEASE[much] + " ") * 30) == much


def test_the_answer_is_the_same_every_time() -> None:
    text = " ".join(LEASE.values())
    assert len({detect(text) for _ in range(20)}) == 1


def test_numbers_and_marks_do_not_hide_the_language_of_the_words() -> None:
    assert detect("§ 3.1 | 2026 | " * 40 + LEASE["de"]) == "de"


def test_half_a_character_is_no_obstacle() -> None:
    assert detect("\ud800" + LEASE["en"]) == "en"
