"""The scanner: fields, blur, sampling, motion and noise."""
