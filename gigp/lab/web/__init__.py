"""Pages that open in a browser without a network: their templates, and the style they share."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render(package: str, template: str, **values: Any) -> str:
    """A page in HTML; text in it is escaped.

    Args:
        package: package that holds the template, and what it includes; `base.css` is here.
        template: name of the template.
        values: what it shows.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ""), PackageLoader(__name__, "")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
