"""skfleet: scikit-learn models over HTTPS from a fleet of VMs."""
