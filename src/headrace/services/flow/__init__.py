"""Flow Service: connections, source and target connections, dataflows, runs, specifications."""
