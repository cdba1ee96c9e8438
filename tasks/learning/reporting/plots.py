"""The plots of a run, by name; apart from the drawing, so that naming one does not import matplotlib."""

#: What is drawn, each as PNG and as SVG.
FIGURES = ("data", "untrained", "trained", "loss", "residuals")

#: The name of each plot among a stage's artifacts, and of its file in the run folder.
PLOTS = {f"{name}_{kind}": f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
