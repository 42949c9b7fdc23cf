"""The words that names and descriptions are made of, by language."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Article:
    """A kind of product: its category, its name by language, its usual weight in grams, and if it has sizes."""

    category: str
    names: dict[str, str]
    weight_grams: int
    sized: bool = False


@dataclass(frozen=True, slots=True)
class Colour:
    """A colour as feeds give it: the search colour, six hex digits, and its name by language."""

    search: str
    hex: str
    names: dict[str, str]


def _texts(nl: str, de: str, en: str, fr: str, es: str) -> dict[str, str]:
    return {"nl": nl, "de": de, "en": en, "fr": fr, "es": es}


ARTICLES = (
    Article("BAGS/SHOPPING_BAGS", _texts("Katoenen tas", "Baumwolltasche", "Cotton bag", "Sac en coton", "Bolsa"), 140),
    Article("DRINKWARE/BOTTLES", _texts("Drinkfles", "Trinkflasche", "Water bottle", "Gourde", "Botella"), 212),
    Article("WRITING/BALLPOINT_PENS", _texts("Balpen", "Kugelschreiber", "Ballpoint pen", "Stylo", "Bolígrafo"), 12),
    Article("TEXTILE/T_SHIRTS", _texts("T-shirt", "T-Shirt", "T-shirt", "Tee-shirt", "Camiseta"), 165, sized=True),
    Article("DRINKWARE/MUGS", _texts("Koffiemok", "Kaffeebecher", "Coffee mug", "Tasse à café", "Taza"), 330),
    Article(
        "UMBRELLAS/FOLDING", _texts("Opvouwbare paraplu", "Taschenschirm", "Umbrella", "Parapluie", "Paraguas"), 290
    ),
    Article("OFFICE/NOTEBOOKS", _texts("Notitieboek", "Notizbuch", "Notebook", "Carnet", "Cuaderno"), 225),
    Article("ELECTRONICS/POWERBANKS", _texts("Powerbank", "Powerbank", "Power bank", "Batterie", "Batería"), 118),
    Article("TEXTILE/SWEATERS", _texts("Trui", "Pullover", "Sweater", "Pull", "Jersey"), 410, sized=True),
)

COLOURS = (
    Colour("Black", "232325", _texts("zwart", "schwarz", "black", "noir", "negro")),
    Colour("Blue", "1E4FA3", _texts("blauw", "blau", "blue", "bleu", "azul")),
    Colour("Red", "c8102e", _texts("rood", "rot", "red", "rouge", "rojo")),
    Colour("Green", "00843D", _texts("groen", "grün", "green", "vert", "verde")),
    Colour("White", "ffffff", _texts("wit", "weiß", "white", "blanc", "blanco")),
    Colour("Yellow", "ffd100", _texts("geel", "gelb", "yellow", "jaune", "amarillo")),
    Colour("Grey", "8a8d8f", _texts("grijs", "grau", "grey", "gris", "gris")),
)

SIZES = ("S", "M", "L", "XL", "XXL")
MODELS = ("Nordsee", "Maas", "Öland", "Alpen", "Duin", "Élan", "Fjord", "Heide", "Lagune", "Polder", "Rhön", "Sirocco")
COLOUR_WORD = _texts("Kleur", "Farbe", "Colour", "Couleur", "Color")
SIZE_WORD = _texts("Maat", "Größe", "Size", "Taille", "Talla")
MATERIAL_WORD = _texts("Materiaal", "Material", "Material", "Matière", "Material")

SENTENCES = {
    "nl": (
        "Stevig en licht, gemaakt om jaren mee te gaan.",
        "De naden zijn dubbel gestikt & het oppervlak is geschikt voor druk in meerdere kleuren.",
        "Wordt geleverd in een doosje van gerecycled karton.",
        "Niet geschikt voor de vaatwasser.",
    ),
    "de": (
        "Robust und leicht, für viele Jahre gemacht.",
        "Die Nähte sind doppelt gesteppt & die Oberfläche eignet sich für mehrfarbigen Druck.",
        "Lieferung in einer Schachtel aus Recyclingkarton.",
        "Nicht für die Spülmaschine geeignet.",
    ),
    "en": (
        "Sturdy and light, made to last for years.",
        "The seams are double stitched & the surface takes a print in several colours.",
        "Delivered in a box of recycled cardboard.",
        "Not suitable for the dishwasher.",
    ),
    "fr": (
        "Solide et léger, conçu pour durer des années.",
        "Les coutures sont doublées & la surface convient à l'impression en plusieurs couleurs.",
        "Livré dans une boîte en carton recyclé.",
        "Ne convient pas au lave-vaisselle.",
    ),
    "es": (
        "Resistente y ligero, hecho para durar años.",
        "Las costuras son dobles y la superficie admite impresión en varios colores.",
        "Se entrega en una caja de cartón reciclado.",
        "No apto para lavavajillas.",
    ),
}

COMPLIANCE = (
    "EN 71-1/2/3, REACH 1907/2006 (Annex XVII), RoHS 2011/65/EU, POP 2019/1021, PAH 1272/2013, 94/62/EC packaging, "
    "food contact 1935/2004 and 10/2011, GPSR 2023/988, battery 2023/1542, azo dyes EN ISO 14362-1, nickel EN 1811, "
    "formaldehyde EN ISO 14184-1, phthalates EN 14372, heavy metals CPSIA 2008 sections 101 and 108"
)
