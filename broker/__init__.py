"""The site server side of the wire: the contract, the embedded broker, and (later) dispatch."""
