"""Shows the documentation tool `keras_sd.applications`: it reads files, and looks for them under `keras_sd/` alone."""

import griffe

from keras_sd.applications._registry import FACTORIES


class Applications(griffe.Extension):
    """Puts the folder `applications/` at its place in the package, and its factories in as functions.

    The factories are made when the package is imported, so that their files hold neither signatures nor docstrings.
    """

    def on_package(self, *, pkg, loader, **_):
        if pkg.name != "keras_sd":
            return
        pkg.set_member("applications", loader.load("applications"))
        running = griffe.inspect(
            "keras_sd.applications",
            docstring_parser=loader.docstring_parser,
            docstring_options=loader.docstring_options,
        )
        for name in FACTORIES:
            pkg["applications"].set_member(name, running[name])
