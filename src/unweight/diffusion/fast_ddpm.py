"""The two short ladders of Fast-DDPM, which trains only on the levels that it samples.

    uniform       times 0, 99, 199, …, 999: eleven of them, though the paper calls them ten
    non-uniform   times 0, 199, 399, 599, 699, 799, 849, 899, 949, 999

Levels of the linear ladder of DDPM; the last step goes from time 0 to the clean sample. The times are
those of the authors' training code (mirthAI/Fast-DDPM, runners/diffusion.py, at a3676503).
Both miss the levels where precision is decided: between times 0 and 99, or 199, there is none.

Reference: Jiang et al., IEEE J Biomed Health Inform 29:7326, 2025 (arXiv 2405.14802).
"""

from unweight.diffusion.ladder import Ladder, linear_ladder

UNIFORM_TIMES = (0, 99, 199, 299, 399, 499, 599, 699, 799, 899, 999)
NON_UNIFORM_TIMES = (0, 199, 399, 599, 699, 799, 849, 899, 949, 999)


def uniform_ladder() -> Ladder:
    """Return the evenly spaced ladder: eleven steps."""
    return linear_ladder().select([0, *(time + 1 for time in UNIFORM_TIMES)])


def non_uniform_ladder() -> Ladder:
    """Return the ladder that is denser at the noisy end: ten steps."""
    return linear_ladder().select([0, *(time + 1 for time in NON_UNIFORM_TIMES)])
