"""The stand-ins for Google's services: one process, one module and one listener each."""
