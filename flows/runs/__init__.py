"""Run folders: finding one, `latest`, their history and their comparison."""
