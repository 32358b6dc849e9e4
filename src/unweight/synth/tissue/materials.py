"""The materials a simulated head is made of: one list, whose order is the index in every label map."""

MATERIALS = (
    "background",
    "csf",
    "grey_matter",
    "white_matter",
    "caudate",
    "putamen",
    "pallidum",
    "thalamus",
    "red_nucleus",
    "substantia_nigra",
    "dentate",
    "vessel",
    "fat",
    "muscle",
    "skin",
    "skull",
    "marrow",
    "dura",
    "connective",
    "ms_lesion",
    "tumour",
    "oedema",
    "calcification",
    "air",
)
PROPERTIES = ("T1", "T2", "PD", "R2star", "chi_plus", "chi_minus")
INDEX = {name: index for index, name in enumerate(MATERIALS)}
SILENT = frozenset({"background", "air", "calcification"})
DEEP_GREY = ("caudate", "putamen", "pallidum", "thalamus", "red_nucleus", "substantia_nigra", "dentate")
BRAIN = ("csf", "grey_matter", "white_matter", *DEEP_GREY, "ms_lesion", "tumour", "oedema")
