"""What every service shares on the wire."""
