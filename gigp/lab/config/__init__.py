"""From the command line to objects: settings are composed, checked, and made into classes."""
