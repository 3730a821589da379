"""What the service and bulk runs share: how tar archives are read, and which of their members are images."""
