"""Values only: no disk, clock, network or third-party imports."""
