"""Real systemd hosts on this machine: systemd-nspawn on overlay mounts, in a network of their own."""
