"""How the tests are run: areas, what runs beside what, and progress."""
