"""What a release installs: the app build (a wheelhouse) and the roles bundle."""
