"""Ball arithmetic, which comes with an extra."""

try:
    import flint as flint
except ImportError as error:
    raise ImportError(
        "jbce.verify needs python-flint, which comes with the extra: pip install 'jbce[verify]'",
        name="flint",
    ) from error
