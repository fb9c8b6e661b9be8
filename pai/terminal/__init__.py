"""What people see and type: the screen, the edit line, and the conversation that `pai chat` holds."""
