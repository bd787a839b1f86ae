"""Old pickles made into artefacts, without this process ever unpickling anything."""
