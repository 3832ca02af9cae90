"""Inputs that grow when they are read, given to whole stages in processes of a bounded memory."""
