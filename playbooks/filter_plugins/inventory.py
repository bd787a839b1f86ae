"""The filter `cyclonedx`: an image's packages as a CycloneDX document, checked against its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

# Ansible imports every filter in every fork of every task, and CycloneDX's validation takes a second of
# CPU to import: it is imported where it is used.
if TYPE_CHECKING:
    from cyclonedx.model.component import Component

# Where a Python package is installed, below /opt/skfleet: one may be in the runtime and in a build.
ENVIRONMENT = "skfleet:environment"


def cyclonedx(found: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    """JSON of the inventory. `found` is what files/image/packages.py prints, `image` the image.json.

    Raises ValueError for a document that the schema refuses.
    """
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    schema, system = SchemaVersion.V1_6, found["system"]
    bom = Bom()
    bom.metadata.component = Component(
        type=ComponentType.OPERATING_SYSTEM,
        name="skfleet-image",
        version=str(image["version"]),
        bom_ref="image",
        properties=[
            Property(name=f"skfleet:{name}", value=str(image[name]))
            for name in ("commit", "bundle", "release", "python", "platform")
            if image.get(name)
        ],
    )
    components = [*_debian(found["debian"], system), *_python(found["python"])]
    for component in components:
        bom.components.add(component)
    bom.register_dependency(bom.metadata.component, components)
    text = make_outputter(bom, OutputFormat.JSON, schema).output_as_string(indent=1)
    problem = JsonStrictValidator(schema).validate_str(text)
    if problem is not None:
        raise ValueError(f"The inventory is no CycloneDX document: {problem}")
    return text + "\n"


def _debian(packages: Any, system: Mapping[str, str]) -> Iterator[Component]:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    for package in packages:
        qualifiers = {
            "arch": str(package["architecture"]),
            "distro": f"{system['ID']}-{system['VERSION_ID']}",
        }
        if package["source"] != package["name"]:  # advisories speak of sources
            qualifiers["upstream"] = str(package["source"])
        url = PackageURL("deb", "debian", str(package["name"]), str(package["version"]), qualifiers)
        yield Component(
            type=ComponentType.LIBRARY,
            name=str(package["name"]),
            version=str(package["version"]),
            purl=url,
            bom_ref=str(url),
        )


def _python(environments: Mapping[str, Any]) -> Iterator[Component]:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    for environment, packages in environments.items():
        for package in packages:
            name, version = str(package["name"]), str(package["version"])
            url = PackageURL("pypi", None, name, version)
            yield Component(
                type=ComponentType.LIBRARY,
                name=name,
                version=version,
                purl=url,
                bom_ref=f"{environment}/{name}@{version}",
                properties=[Property(name=ENVIRONMENT, value=str(environment))],
            )


class FilterModule:
    """Found by Ansible."""

    def filters(self) -> dict[str, Any]:
        """By name."""
        return {"cyclonedx": cyclonedx}
