"""The `kaon` command: looks at pipelines from outside. Reads the API server with a kubeconfig; writes nothing."""
