"""Schema Registry: XDM schemas, classes, field groups, data types, behaviors, descriptors, unions."""

from headrace.services.registry.routes import routes
from headrace.services.registry.service import RegistryService

__all__ = ["RegistryService", "routes"]
