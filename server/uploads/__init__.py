"""Files that are sent to be transcribed: their form, their sound, and the answer."""
