"""Tables of the study, each made from the records alone."""
