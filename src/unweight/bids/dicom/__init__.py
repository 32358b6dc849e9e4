"""DICOM folders: what is there, which series, and their conversion by dcm2niix."""
