"""What a prediction looks like on the wire: parse → validated rows → answer, all pure functions."""
