"""What each stage does: one thin module a stage."""
