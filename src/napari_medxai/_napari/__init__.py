"""The napari plugin: the only place that knows Qt and napari.

Importing this package imports neither; npe2 loads each contribution by its name in
``napari.yaml``.
"""

from __future__ import annotations
