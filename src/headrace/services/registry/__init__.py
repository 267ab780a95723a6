"""Schema Registry: XDM schemas, classes, field groups, data types, behaviors, descriptors, unions."""

from headrace.services.registry.authoring import Authoring
from headrace.services.registry.descriptors import Descriptors
from headrace.services.registry.routes import routes
from headrace.services.registry.service import RegistryService

__all__ = ["Authoring", "Descriptors", "RegistryService", "routes"]
