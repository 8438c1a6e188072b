"""Exporters of metrics: what each calls its figures, and how their pages become ours."""
