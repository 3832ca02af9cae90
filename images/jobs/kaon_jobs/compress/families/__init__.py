"""What compression knows of kinds of models: where their parts are, and how parts are taken out."""
