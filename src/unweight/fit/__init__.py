"""Classical estimators: what the data alone say."""
