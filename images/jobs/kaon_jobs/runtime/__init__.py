"""Code that is copied beside a model, and runs in the server's process without Kaon: siblings import each other."""
