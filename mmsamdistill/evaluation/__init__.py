"""Numbers, tables and figures that the host lacks."""
