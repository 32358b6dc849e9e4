"""The only file door: NIfTI, sidecars, BIDS trees and DICOM in; BIDS derivatives and raw data out."""
