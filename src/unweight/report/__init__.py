"""Pictures of maps, in the colours the field recommends. The only place that draws."""
