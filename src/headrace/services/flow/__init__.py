"""Flow Service: connections, source and target connections, dataflows, runs, specifications."""

from headrace.services.flow.routes import routes
from headrace.services.flow.service import FlowService

__all__ = ["FlowService", "routes"]
